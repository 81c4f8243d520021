"""Teachers: language models whose answers make pools."""
