"""What is applied to a Kubernetes cluster to have a matrix measured there?"""
