"""The embedded engine: U^2-Net-p, a small trained network whose weights come with the installation.

``service.engines.build`` creates it if the settings name it, or if InSPyReNet's weights are not available. It must work
without a network connection and without a GPU.

Source: Qin, Zhang, Huang, Dehghan, Zaiane and Jagersand, "U^2-Net: Going deeper with nested U-structure for salient
object detection", Pattern Recognition 106 (2020); Apache License 2.0.
"""
