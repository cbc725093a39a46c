"""Measuring kernels against each other, against other libraries and against the machine: cases, contestants and their clock.

``cases`` reads what is measured from ``shapes``; ``contestants`` are asked for it in processes of their own (``workers``,
``serve``), verified and then timed in turn (``timing``); ``suites`` says who is asked for what.
"""
