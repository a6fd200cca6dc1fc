"""CloudWatch Logs Insights over the log groups: the language, its translation to SQL, the queries and who runs them."""
