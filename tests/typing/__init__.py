"""Programs for type checkers."""  # noqa: A005  (only seen as tests.typing)
