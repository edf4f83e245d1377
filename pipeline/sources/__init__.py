"""Where source images come from: containers give items, readers make records of them. The protocols are in `base`."""
