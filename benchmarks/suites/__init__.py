"""What is compared: each suite runs in a process of its own, and prints its rows as lines of JSON.

A row of a comparison says who is compared (``ours``, ``peer``), whether they agree (``departure``:
their outputs' largest difference over the rms; None where the weights don't port), and what
``paired.compare`` gave for ``forward`` and ``forward_backward``.
"""
