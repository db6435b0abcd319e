"""From pixels to detections and to what stands out. Knows no requests."""
