"""What a run survives: kills, full disks, files of strangers, hours. Commands make the figures of docs/reliability.md.

``python -m tests.reliability.kills --count 200``, ``python -m tests.reliability.fuzz --seconds 600`` and
``python -m tests.reliability.soak --minutes 120`` write ``benchmarks/results/``; ``python -m tests.reliability.page``
makes the page of them.
"""
