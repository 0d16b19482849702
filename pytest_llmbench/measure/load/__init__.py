"""What does a server do under load? The client's plan, its process, and what came of it."""
