"""From a photo and a plan to the crop's pixels and the file's bytes."""
