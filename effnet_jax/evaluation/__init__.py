"""How good a trained network is, and where it errs: on its own data set or on another one."""
