"""One figure a module, called like the table it is drawn from; `draw(table)` gives the figure."""
