"""How a module is run on shapes alone: what it owns, what it calls, what each call leaves."""
