"""What tests share: the service under test, fake engines and clocks, pictures, real programs."""
