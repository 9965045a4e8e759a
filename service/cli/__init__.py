"""The commands of the program: one module each, and ``commands``, the table that lists them.

``service.__main__`` calls ``commands.main``; nothing else imports this package except tests. A command is imported only
when it is asked for. ``check`` and ``probe`` import the standard library only, so that they start at once.
"""
