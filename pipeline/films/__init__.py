"""Films: decoding, shots, and what has to be cut away or passed over before a frame is used."""
