"""Hand names on lazily."""
