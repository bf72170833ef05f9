"""One file a version of the tables. A version that was released is not changed any more."""
