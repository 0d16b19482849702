"""What did the machine do meanwhile?

:class:`~pytest_llmbench.hardware.monitor.HardwareMonitor` is what the rest of the package uses.
"""
