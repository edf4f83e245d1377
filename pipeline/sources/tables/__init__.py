"""Tables: which rows and columns a file has, and what they mean. Listings and the container `table` read them."""
