"""What the adapter says of itself: metrics and logs. Neither ever holds text of a prompt or an answer."""
