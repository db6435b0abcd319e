"""From detections to windows: where to cut. Standard library only."""
