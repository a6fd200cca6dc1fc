"""The wire: AWS's JSON protocols and request signatures, driven by botocore's service models."""
