"""Stage `report`: one self-contained HTML page that shows what is recommended, to whom and why."""
