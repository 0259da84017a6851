"""What `report.py` is made of."""
