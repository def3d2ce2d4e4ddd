"""The parts of the page, a module each: facts from the tables, judged in plain code, shown by a template."""
