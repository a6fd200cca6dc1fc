"""The simulated accounts: durable inboxes, and the SQS and CloudWatch Logs calls that read and fill them."""
