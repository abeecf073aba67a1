"""The doors: Lambda function, worker, command line and demo turn input into events and report outcomes."""

import gc
import os

if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
    gc.disable()  # until the end of the init: imports leave no garbage, and looking for it takes 7 % of their time
