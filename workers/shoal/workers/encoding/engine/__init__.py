"""The engine around a model: queues, batch scheduling and the threads that compute."""
