"""Tools that this server runs for the model: what they offer, and what comes of a call."""
