"""The devices that ranks compute on: what they are called, and all that is asked of torch about one. All may enter.

Only here stands what kinds of GPUs there are: torch calls NVIDIA's and AMD's `cuda`, Intel's `xpu`.
"""
