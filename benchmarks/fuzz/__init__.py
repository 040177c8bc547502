"""Bad input through the real command line: every case ends in one line, within bounds of time and memory."""
