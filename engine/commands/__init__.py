"""The built-in subcommands of `onetape`: light modules that import what they need when they are called."""
