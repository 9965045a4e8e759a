"""The engine as the supervisor sees it: how it is loaded, the canaries, and the references.

``service.app`` gives it to the supervisor. The decision whether the service is warm belongs to ``supervisor``, and the
words for clients belong to ``service.http``.
"""
