"""Tables, charts and pages made from a file of results (`python -m bench report` and `performance`)."""
