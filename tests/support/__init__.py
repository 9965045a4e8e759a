"""What tests share: the service under test, the fake engine and clock, pictures, waiting, and real programs.

Every package of tests may import these modules. A helper that only one package needs belongs beside its tests.
"""
