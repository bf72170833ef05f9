"""The outbox emptied: each message signed, sent to a vetted address, tried again or given up."""
