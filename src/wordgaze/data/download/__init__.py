"""Photos and captions from the network, only where a command is asked for them."""
