"""Each module yields its cases as pairs: a title, and a function that raises `Failed` or returns."""
