"""`autoscorer scorers`: look at, load, test and write scorers."""
