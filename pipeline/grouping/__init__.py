"""How groups form: strategies read the structure of the source, vetoes speak against a group, choice takes the best.

No group is formed because its images look alike, except by the strategy that does just that: the panels of a real group
often don't, and perceptual hashes say nothing about relatedness (AUC 0.49 on real film panels). Nor is one formed
because images happen to lie side by side: a folder of unrelated photographs has no structure (`structure`).
"""
