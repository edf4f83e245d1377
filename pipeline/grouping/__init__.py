"""How groups form: strategies read the structure of the source, vetoes speak against a group, choice takes the best.

No group is ever formed because its images look alike: the panels of a real group often don't, and perceptual hashes
say nothing about relatedness (AUC 0.49 on real film panels).
"""
