"""Tables, charts, and the pages made of them."""
