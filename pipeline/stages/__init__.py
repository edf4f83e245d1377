"""The line, one file per stage; each turns records of one kind into records of the next. No stage imports another."""
