"""The fast local scheduler: what runs when, in which process, with which resources."""
