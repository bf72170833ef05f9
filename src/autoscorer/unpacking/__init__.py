"""Archives that somebody delivered: read in bounded memory, member by member, believing nothing in them."""
