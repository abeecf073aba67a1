"""Is one build or file of results slower than another? (`python -m bench compare`)"""
