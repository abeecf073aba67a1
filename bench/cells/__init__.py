"""One measured cell: a function or a task, its pictures, its outputs."""
