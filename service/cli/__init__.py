"""The commands of the program, one module each, and the table that lists them.

Nothing else imports this room. A command is imported when it is asked for, and no request is handled here.
"""
