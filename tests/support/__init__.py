"""What tests share: the service under test, the fake engine and clock, pictures, waiting, and real programs."""
